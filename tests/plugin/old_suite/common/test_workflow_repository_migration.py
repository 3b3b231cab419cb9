"""Sixty tests of the repository on sessions of the factory."""

import asyncio
from uuid import uuid4

import pytest
from models import Workflow
from repositories import BaseRepository, WorkflowRepository
from session_factory import AsyncSessionFactory
from sqlalchemy import text


class TestWorkflowRepositoryMigration:
    def test_repository_inherits_from_base(self):
        assert issubclass(WorkflowRepository, BaseRepository)

    def test_repository_names_its_model(self):
        assert WorkflowRepository.model is Workflow

    async def test_a_session_is_created(self):
        session = await AsyncSessionFactory.create_session()
        assert await session.scalar(text("select 1")) == 1
        await session.close()

    async def test_an_error_in_a_scope_is_raised(self):
        with pytest.raises(LookupError):
            async with AsyncSessionFactory.session_scope():
                raise LookupError

    @pytest.mark.parametrize("priority", range(14))
    async def test_a_workflow_is_added(self, priority):
        async with AsyncSessionFactory.session_scope() as session:
            workflow = await WorkflowRepository(session).add(name=uuid4().hex, priority=priority)
            await session.commit()
            assert (await WorkflowRepository(session).get(workflow.id)).priority == priority

    @pytest.mark.parametrize("number", range(14))
    async def test_a_workflow_is_published(self, number):
        name = uuid4().hex
        async with AsyncSessionFactory.session_scope() as session:
            repository = WorkflowRepository(session)
            await repository.publish(await repository.add(name=name))
            await session.commit()
        async with AsyncSessionFactory.session_scope() as session:
            assert len(await WorkflowRepository(session).with_status(name, "published")) == 1

    @pytest.mark.parametrize("number", range(14))
    async def test_what_is_rolled_back_is_not_there(self, number):
        name = uuid4().hex
        with pytest.raises(LookupError):
            async with AsyncSessionFactory.session_scope() as session:
                await WorkflowRepository(session).add(name=name)
                raise LookupError
        async with AsyncSessionFactory.session_scope() as session:
            assert await WorkflowRepository(session).count(Workflow.name == name) == 0

    @pytest.mark.parametrize("number", range(14))
    async def test_workflows_are_added_one_after_another(self, number):
        name = uuid4().hex

        async def add(priority):
            async with AsyncSessionFactory.session_scope() as session:
                await WorkflowRepository(session).add(name=name, priority=priority)
                await session.commit()

        await asyncio.gather(*(add(priority) for priority in range(3)))
        async with AsyncSessionFactory.session_scope() as session:
            found = await WorkflowRepository(session).with_status(name, "draft")
            assert [workflow.priority for workflow in found] == [0, 1, 2]
            await WorkflowRepository(session).delete(found[0])
            await session.commit()
